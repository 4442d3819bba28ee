# Tests that drive the real binary or a live reference; unit tests are declared by room().
