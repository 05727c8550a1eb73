"""Cloud Storage: its JSON API, and of the XML API what the same clients use.

https://cloud.google.com/storage/docs/json_api/v1

    application   from a request to a method and back
    request       requests and answers as the methods see them
    buckets       the methods of buckets; objects, listing, downloads, uploads those of objects; batch
    xml_api       the methods of the XML API; xml_list its lists
    conditions    preconditions and etags; metadata, access, encryption, checksums, names what they say
    resources     buckets and objects as the API tells them; partial what `fields` wants of it
    index         what there is, in SQLite; tables its rows; contents the bytes, in files
    service       all of it together; takeover the folder of fake-gcs-server, which versions before 0.2 used
"""
