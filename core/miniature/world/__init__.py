"""The miniature's world: scenes with exact ground truth, their captions, and their drawing."""
