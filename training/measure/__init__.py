"""What codecs make of pictures: real files, metrics, curves, tables and plots."""
