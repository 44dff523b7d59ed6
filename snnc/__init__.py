"""snnc compiles trained CNNs (ONNX) into spiking neural networks for neuromorphic hardware."""
