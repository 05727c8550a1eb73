"""The Vertex AI v1 surface, frozen from the installed SDK: message types, routes and operation types.

`freeze` writes the frozen files, `surface` reads them at start-up without importing the SDK, which costs
seconds. A test compares the files with the SDK that is installed.
"""
