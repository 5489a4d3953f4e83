"""The whole product from outside: real processes of the command line, a real sandbox, a real S3 server."""
