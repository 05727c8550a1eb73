"""The commands of the tests, forked from one process that has imported what they import, which is most of their time.

What runs is the command's own code, in another process, with its own arguments, folder, environment, files and
signals. What a fork cannot give (another session, namespace or limit, options of the interpreter) runs as it always
does, by the program itself: `forking.command` decides. EDGE_TESTS_FORK=no runs every command that way.
"""
