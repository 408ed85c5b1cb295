"""From torch to ONNX to 8 bits, with proof."""
