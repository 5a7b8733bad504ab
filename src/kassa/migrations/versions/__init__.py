"""One file per capability; a file is never changed after it was released, only followed by another."""
