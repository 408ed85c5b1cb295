"""Everything that opens an ONNX file: sessions, extractor, detector, head."""
