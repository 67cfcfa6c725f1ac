"""Tests that ducktape runs; a package, because ducktape looks for nothing else in a directory."""
