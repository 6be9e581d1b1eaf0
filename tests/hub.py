"""A small server on loopback that speaks the Hugging Face hub's download protocol."""

import contextlib
import hashlib
import http.server
import re
import threading

REVISION = "0123456789abcdef0123456789abcdef01234567"
PATH = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class Hub:
    """Files by (repository, revision, name); `asked` lists the requests that came."""

    def __init__(self):
        self.files, self.asked, self.tokens = {}, [], []
        self.cut_after = 0  # bytes after which the next download breaks off, once
        self.html = False  # answer with a page instead of the file, as a proxy may

    def put(self, repo, name, data, revision=REVISION):
        self.files[repo, revision, name] = data

    @contextlib.contextmanager
    def serving(self):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                hub.answer(self, body=False)

            def do_GET(self):
                hub.answer(self, body=True)

            def log_message(self, *words):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, request, body):
        self.asked.append((request.command, request.path, request.headers.get("Range", "")))
        self.tokens.append(request.headers.get("Authorization", ""))
        found = PATH.fullmatch(request.path)
        revision = found and found["revision"].replace("main", REVISION)
        key = found and (found["repo"], revision, found["file"])
        if key not in self.files:
            return self.miss(request, key)
        data, start = self.files[key], 0
        if asked := re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "")):
            start = int(asked[1])
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data) - start))
        request.send_header("X-Repo-Commit", key[1])
        request.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        request.send_header("Accept-Ranges", "bytes")
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        if body and self.cut_after:
            request.wfile.write(data[start : start + self.cut_after])
            self.cut_after, request.close_connection = 0, True
        elif body:
            request.wfile.write(data[start:])

    def miss(self, request, key):
        known = {(repo, revision) for repo, revision, _ in self.files}
        why = "RepoNotFound"
        if key and key[:2] in known:
            why = "EntryNotFound"
        elif key and key[0] in {repo for repo, _ in known}:
            why = "RevisionNotFound"
        request.send_response(404)
        request.send_header("X-Error-Code", why)
        request.send_header("Content-Length", "0")
        request.end_headers()
