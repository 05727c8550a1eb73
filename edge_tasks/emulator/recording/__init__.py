"""Sessions of Vertex AI's API: recorded by a proxy, without names and secrets, and compared with the emulator.

With them anybody who has an account can prove, or correct, what docs/fidelity.md says the service answers.

    python -m edge_tasks.emulator.recording record --output FILE [--to URL] [--port P]
    python -m edge_tasks.emulator.recording replay FILE --to URL [--set NAME=VALUE]
"""
