"""The dashboard: one local web page over the whole loop, and the same as static files.

    records   where runs come from (a Protocol), and what the page is told of each
    bucket    the records in the repository's bucket
    feed      the runs as they were last read, and which of them changed since
    loop      what is told of all the rest (a Protocol): models, endpoints, jobs, pipelines, monitoring
    live      the same, from the bucket and the API of either target: served, job_list, pipelines, drift, trial
    server    the page and its JSON on 127.0.0.1
    export    the page and its JSON as files
    assets    the files of the page
    page/     what the browser gets: HTML, CSS and plain scripts, served as they stand here. No build, no framework;
              classic scripts instead of modules, because a page opened as a file may not load modules

Charts are drawn by uPlot, which lies in page/vendor/ with its licence; see docs/dashboard.md on renewing it.
"""
