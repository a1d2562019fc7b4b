"""The bundled miniatures' own worlds and the judges trained on them."""
