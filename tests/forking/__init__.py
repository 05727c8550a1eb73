"""Commands and emulators of the tests, forked from processes that have imported what they import: most of their time.

What runs is the program's own code, in another process, with its own arguments, folder, environment, files and
signals. What a fork cannot give (a session of another's, a namespace or limit, options of the interpreter) runs as it
always does, by the program itself: `forking.command` decides. EDGE_TESTS_FORK=no runs all of it that way; so do, by the
fixture `not_forked`, the tests that are about starting an emulator and about its fork server.

    command.py   stands for a program: `invoke`, `python`, or the fork server of an emulator
    commands.py  writes the stand-ins, and starts what is forked from
    server.py    what is forked from: one process for commands, one for emulators, one for their fork servers; and one
                 for gcloud, which tests/gcloud.py leads there by the variable that names its interpreter
    process.py   an emulator that tests start themselves, as `subprocess.Popen` would
"""
