"""posefix live: a camera, stream or file as it plays, shown at once in a window or a browser."""
