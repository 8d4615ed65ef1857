"""The HTTP API: Falcon resources, schemas, answers. Stateless: any number of workers."""
