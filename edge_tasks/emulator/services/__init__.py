"""One module for each service of Vertex AI.

A service is a class whose `service` names it, with a method for each RPC: `JobService.CreateCustomJob` is
`create_custom_job` in `jobs`. What has no method is answered with 501 UNIMPLEMENTED.
"""
