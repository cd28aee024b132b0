"""One measurement a file; each returns figures that stand beside their floors."""
