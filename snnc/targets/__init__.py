"""Hardware limits, number formats and energy constants, as TOML with sources."""
