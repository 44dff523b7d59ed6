"""Many compilations of one model, measured side by side: presets, steps and bits."""
