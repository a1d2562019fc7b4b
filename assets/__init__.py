"""The bundled miniature models, their judge, and the commands that build them from nothing."""
