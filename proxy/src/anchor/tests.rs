//! Anchors against servers of their own on the loopback.
