"""The online service and its releases; nothing outside of this folder needs it."""
