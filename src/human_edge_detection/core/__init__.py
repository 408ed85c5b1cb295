"""Plain data that every stage hands on: errors, boxes, geometry, images, options."""
