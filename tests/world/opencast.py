"""A small stand-in for Opencast: what a capture agent asks of it, by the capture-agent protocol and nothing else.

Services, calendar with ETag, agent and recording states, ingest step by step, the stored files, workflows. It checks what
it is told as Opencast does: HTTP digest or basic authentication, the order of fields in a track, one mediapackage that is
handed from step to step. It is not made for our client: pyCA, an independent one, talks to it in `make peers`.

As a program: opencast.py FOLDER USER PASSWORD, prints its port; what may go wrong is read from FOLDER/faults.json
before each request: {"refuse": n} answers 503 n times, {"lose": ["addTrack", …]} does it and hangs up, {"silent": true}
answers an ingest without a workflow, {"garble": true} stores a track with one byte changed.
"""

import base64
import datetime
import hashlib
import http.server
import json
import pathlib
import re
import secrets
import sys
import threading
import urllib.parse
import uuid

NAMESPACE = "http://mediapackage.opencastproject.org"


def form(headers, body):
    """Fields of either kind of form."""
    if "multipart" in headers.get("Content-Type", ""):
        return multipart(headers, body)[0]
    fields = urllib.parse.parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def multipart(headers, body):
    """Fields in their order, up to the first file, as Opencast's parser reads them; then the file."""
    boundary = re.search(r'boundary="?([^";]+)"?', headers["Content-Type"]).group(1).encode()
    fields = {}
    for piece in body.split(b"--" + boundary)[1:-1]:
        head, _, content = piece[2:].partition(b"\r\n\r\n")
        content = content[:-2]
        name = re.search(rb'[; ]name="([^"]*)"', head).group(1).decode()
        file = re.search(rb'filename="([^"]*)"', head)
        if file:
            return fields, file.group(1).decode(), content
        fields[name] = content.decode()
    return fields, None, b""


class Opencast:
    """The server; its state is what a test looks at."""

    def __init__(self, folder, user=None, password=None):
        self.folder = pathlib.Path(folder)
        self.stored = self.folder / "stored"
        self.stored.mkdir(parents=True, exist_ok=True)
        self.user, self.password, self.nonces = user, password, set()
        self.events, self.refuse, self.said, self.agents = [], 0, [], {}
        self.packages, self.workflows, self.log = {}, {}, []
        self.lock = threading.RLock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.handle(self, b"")

            do_HEAD = do_GET

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                if self.headers.get("Expect"):
                    self.send_response_only(100)
                    self.end_headers()
                body = bytearray()
                while "chunked" in self.headers.get("Transfer-Encoding", ""):
                    size = int(self.rfile.readline().split(b";")[0], 16)
                    body += self.rfile.read(size)
                    self.rfile.readline()
                    if size == 0:
                        break
                outer.handle(self, bytes(body) or self.rfile.read(length))

            do_PUT = do_DELETE = do_POST

        self.handler, self.server, self.port = Handler, None, 0
        self.on()

    def on(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def off(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def plan(self, begin, end, title="lesson"):
        """An event in the calendar, times in Unix seconds. As Opencast does: one that overlaps another is refused."""
        if any(begin < e and b < end for _, b, e, _ in self.events):
            return False
        self.events.append((f"lesson-{len(self.events)}", begin, end, title))
        return True

    def calendar(self):
        def stamp(t):
            return datetime.datetime.fromtimestamp(t, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")

        def folded(line):
            """Lines are folded at 75 bytes, never inside a character."""
            out, left = [], line
            while len(left.encode()) > 75:
                cut = 75
                while len(left[:cut].encode()) > 75:
                    cut -= 1
                out.append(left[:cut])
                left = " " + left[cut:]
            return "\r\n".join([*out, left]) + "\r\n"

        attachment = ("ATTACH;FMTTYPE=application/text;X-APPLE-FILENAME=org.opencastproject.capture.agent.properties:"
                      "b3JnLm9wZW5jYXN0cHJvamVjdC53b3JrZmxvdy5kZWZpbml0aW9uPWZhc3QK")
        escaped = lambda text: text.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;")
        lines = ["BEGIN:VCALENDAR", "PRODID:Opencast Calendar File 0.5", "VERSION:2.0"]
        for uid, begin, end, title in self.events:
            lines += ["BEGIN:VEVENT", f"UID:{uid}", f"SUMMARY:{escaped(title)}", f"DTSTART:{stamp(begin)}",
                      f"DTEND:{stamp(end)}", attachment, "END:VEVENT"]
        return "".join(folded(line) for line in [*lines, "END:VCALENDAR"])

    # -- what may go wrong

    def faults(self):
        try:
            return json.loads((self.folder / "faults.json").read_text())
        except (OSError, ValueError):
            return {}

    def spend(self, faults):
        """Faults that are used up are written back."""
        new = self.folder / "faults.new"
        new.write_text(json.dumps(faults))
        new.replace(self.folder / "faults.json")

    # -- HTTP

    def answer(self, request, code, body="", kind="text/xml", headers=()):
        body = body if isinstance(body, bytes) else body.encode()
        request.send_response(code)
        request.send_header("Content-Type", kind)
        for name, value in headers:
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def known(self, request):
        """HTTP digest where the client asks for it, basic otherwise."""
        if self.user is None:
            return True
        given = request.headers.get("Authorization", "")
        if given.startswith("Basic "):
            wanted = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return request.headers.get("X-Requested-Auth") != "Digest" and given[6:].strip() == wanted
        if not given.startswith("Digest "):
            return False
        said = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', given)}
        if said.get("nonce") not in self.nonces or said.get("uri") != request.path or said.get("username") != self.user:
            return False
        md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
        ha1, ha2 = md5(f"{self.user}:Opencast:{self.password}"), md5(f"{request.command}:{request.path}")
        middle = [said["nonce"], said.get("nc", ""), said.get("cnonce", ""), said["qop"]] if "qop" in said else [said["nonce"]]
        return said.get("response") == md5(":".join([ha1, *middle, ha2]))

    def handle(self, request, body):
        path = urllib.parse.urlsplit(request.path).path
        if not self.known(request):
            nonce = secrets.token_hex(16)
            self.nonces.add(nonce)
            way = f'Digest realm="Opencast", nonce="{nonce}", qop="auth"'
            if request.headers.get("X-Requested-Auth") != "Digest":
                way = 'Basic realm="Opencast"'
            return self.answer(request, 401, "", headers=[("WWW-Authenticate", way)])
        with self.lock:
            faults = self.faults()
            self.log.append(f"{request.command} {path}")
            if faults.get("refuse", 0) > 0:
                faults["refuse"] -= 1
                self.spend(faults)
                return self.answer(request, 503, "later")
            if path.endswith("/addTrack") and self.refuse > 0:
                self.refuse -= 1
                return self.answer(request, 503, "later")
            code, *rest = self.do(request, path, body, faults)
            lost = next((word for word in faults.get("lose", []) if word in path), None)
            if lost:
                faults["lose"].remove(lost)
                self.spend(faults)
                request.close_connection = True
                return request.connection.close()
        self.answer(request, code, *rest)

    # -- what is asked

    def do(self, request, path, body, faults):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.path).query))
        step = path.rsplit("/", 1)[-1]
        if path == "/services/available.json":
            name = query.get("serviceType", "").split("org.opencastproject.")[-1]
            service = {"host": self.url, "path": "/" + name, "online": True, "active": True}
            return 200, json.dumps({"services": {"service": service}}), "application/json"
        if path.endswith("/calendars"):
            text = self.calendar()
            tag = hashlib.sha256(text.encode()).hexdigest()[:16]
            headers = [("ETag", tag)]
            if request.headers.get("If-None-Match", "").strip('"') == tag:
                return 304, "", "text/calendar", headers
            return 200, text, "text/calendar; charset=UTF-8", headers
        if path.startswith("/capture.admin/agents/"):
            agent = self.agents.setdefault(urllib.parse.unquote(path.split("/")[3]), {})
            fields = form(request.headers, body)
            if path.endswith("/configuration"):
                agent["configuration"] = json.loads(fields["configuration"]) if fields["configuration"].startswith("{") else fields["configuration"]
            else:
                if fields.get("state") not in ("idle", "shutting_down", "capturing", "uploading", "unknown", "offline", "error"):
                    return 400, "unknown state"
                agent.update(state=fields["state"], address=fields.get("address", ""))
            self.write("agents.json", self.agents)
            return 200, "ok", "text/plain"
        if "/recordings/" in path:
            self.said.append(form(request.headers, body).get("state", ""))
            self.write("said.json", self.said)
            return 200, "ok", "text/plain"
        if path.startswith("/files/"):
            file = self.stored / pathlib.Path(urllib.parse.unquote(path)).name
            return (200, file.read_bytes(), "video/mp4") if file.is_file() else (404, "")
        if path.startswith("/workflow/mediaPackage/"):
            mine = [w for w in self.workflows.values() if w["package"] == path.split("/")[3]]
            return 200, json.dumps([{"id": w["id"], "state": "RUNNING"} for w in mine]), "application/json"
        if path.startswith("/ingest/"):
            return self.ingest(request, step, body, faults)
        return 404, ""

    def ingest(self, request, step, body, faults):
        if step == "createMediaPackage":
            package = {"id": str(uuid.uuid4()), "elements": []}
            self.packages[package["id"]] = package
            return 200, self.xml(package)
        if "multipart" in request.headers.get("Content-Type", ""):
            fields, name, content = multipart(request.headers, body)
        else:
            fields, name, content = form(request.headers, body), None, b""
        package = re.search(r'<(?:\w+:)?mediapackage[^>]*\bid="([^"]+)"', fields.get("mediaPackage", ""))
        package = self.packages.get(package.group(1)) if package else None
        if package is None:
            return 400, "no such mediapackage"
        if step == "discardMediaPackage":
            del self.packages[package["id"]]
            return 200, ""
        if step == "addDCCatalog":
            if "<dublincore" not in fields.get("dublinCore", ""):
                return 400, "no catalog"
            package["elements"].append({"kind": "catalog", "flavor": fields.get("flavor", "dublincore/episode"), "text": fields["dublinCore"]})
        elif step in ("addTrack", "addPartialTrack"):
            if name is None or "flavor" not in fields:
                return 400, "flavor must come before the file"
            if step == "addPartialTrack" and not fields.get("startTime", "").isdigit():
                return 400, "startTime must come before the file"
            if faults.get("garble"):
                content = content[:-1] + bytes([content[-1] ^ 1])
                faults.pop("garble")
                self.spend(faults)
            file = f"{uuid.uuid4()}-{pathlib.Path(name).name}"
            (self.stored / file).write_bytes(content)
            flavor = fields["flavor"] + ("+partial" if step == "addPartialTrack" else "")
            package["elements"].append({"kind": "track", "flavor": flavor, "file": file, "size": len(content),
                                        "start": fields.get("startTime")})
        elif step in ("addCatalog", "addAttachment"):
            package["elements"].append({"kind": step, "flavor": fields.get("flavor"), "text": ""})
        elif step == "ingest" or "ingest/ingest/" in request.path:
            if faults.get("silent"):
                return 200, '<workflow xmlns="http://workflow.opencastproject.org" id=""/>'
            number = str(1000 + len(self.workflows))
            self.workflows[number] = {"id": number, "package": package["id"], "elements": package["elements"],
                                      "definition": fields.get("workflowDefinitionId")}
            self.write("workflows.json", list(self.workflows.values()))
            return 200, f'<ns3:workflow xmlns:ns3="http://workflow.opencastproject.org" id="{number}" state="RUNNING"/>'
        else:
            return 404, ""
        return 200, self.xml(package)

    def xml(self, package):
        parts = {"track": "", "catalog": ""}
        for n, element in enumerate(package["elements"]):
            if element["kind"] == "track":
                url = f"{self.url}/files/mediapackage/{package['id']}/{n}/{element['file']}"
                parts["track"] += (f'<track id="t{n}" type="{element["flavor"]}"><mimetype>video/mp4</mimetype>'
                                   f"<url>{url}</url><size>{element['size']}</size></track>")
            elif element["kind"] == "catalog":
                parts["catalog"] += f'<catalog id="c{n}" type="{element["flavor"]}"/>'
        return (f'<?xml version="1.0" encoding="UTF-8"?><mediapackage xmlns="{NAMESPACE}" id="{package["id"]}" '
                f'start="2026-01-01T00:00:00Z"><media>{parts["track"]}</media><metadata>{parts["catalog"]}</metadata></mediapackage>')

    def write(self, name, value):
        new = self.folder / (name + ".new")
        new.write_text(json.dumps(value))
        new.replace(self.folder / name)


def main():
    folder, user, password = sys.argv[1:4]
    opencast = Opencast(folder, user, password)
    planned = pathlib.Path(folder) / "plan.json"
    if planned.is_file():
        for begin, end, title in json.loads(planned.read_text()):
            opencast.plan(begin, end, title)
    print(opencast.port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
