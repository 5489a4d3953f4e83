"""What the archive talks to: the providers' APIs, the media transfer, the storage and the Parquet lake."""
