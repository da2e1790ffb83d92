"""From a picture to the network's input: resizing, colour conversion and scene cuts."""
