"""Cameras that speak ONVIF, as makers build them, for tests/cameras.rs: WS-Discovery by multicast, then SOAP over HTTP.

    onvif.py LOG        in a network namespace whose interface has the addresses 10.77.0.11 and on

The shapes (prefixes, scopes, ports, quirks) are those of real cameras' answers; names and numbers are made up. Requests
are checked as cameras check them: the digest, its time by the camera's own clock, and that no nonce comes twice.
What was asked of whom is written to LOG, a line each.
"""

import base64
import hashlib
import re
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER, PASSWORD = "teacher", "tulip-of-the-back-wall"
GROUP, PORT = "239.255.255.250", 3702
LOG = open(sys.argv[1], "a", buffering=1)

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
DISCOVERY = "http://schemas.xmlsoap.org/ws/2005/04/discovery"


class Camera:
    """One camera. Subclasses are makers."""

    port = 80
    years_off = 0  # by how much its clock is wrong
    login = True

    def __init__(self, address):
        self.address = address
        self.nonces = set()

    def now(self):
        return time.gmtime(time.time() + self.years_off * 31557600)

    # -- discovery

    types = "dn:NetworkVideoTransmitter tds:Device"

    def scopes(self):
        return "onvif://www.onvif.org/name/%s onvif://www.onvif.org/hardware/%s" % (self.name, self.hardware)

    def services(self):
        return "http://%s%s/onvif/device_service" % (self.address, "" if self.port == 80 else ":%d" % self.port)

    def probe_match(self, relates):
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<SOAP-ENV:Envelope xmlns:SOAP-ENV="%s" xmlns:wsa="%s" xmlns:d="%s"'
            ' xmlns:dn="http://www.onvif.org/ver10/network/wsdl" xmlns:tds="http://www.onvif.org/ver10/device/wsdl">'
            "<SOAP-ENV:Header><wsa:MessageID>urn:uuid:%s</wsa:MessageID><wsa:RelatesTo>%s</wsa:RelatesTo></SOAP-ENV:Header>"
            "<SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch><wsa:EndpointReference><wsa:Address>urn:uuid:%s</wsa:Address>"
            "</wsa:EndpointReference><d:Types>%s</d:Types><d:Scopes>%s</d:Scopes><d:XAddrs>%s</d:XAddrs>"
            "<d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"
            % (SOAP, ADDRESSING, DISCOVERY, self.address, relates, self.address, self.types, self.scopes(), self.services())
        )

    # -- requests

    def envelope(self, body):
        return (
            '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="%s" xmlns:tds="http://www.onvif.org/ver10/device/wsdl"'
            ' xmlns:trt="http://www.onvif.org/ver10/media/wsdl" xmlns:tt="http://www.onvif.org/ver10/schema"'
            ' xmlns:ter="http://www.onvif.org/ver10/error"><s:Body>%s</s:Body></s:Envelope>' % (SOAP, body)
        )

    def not_authorized(self):
        return 400, self.envelope(
            "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code>"
            '<s:Reason><s:Text xml:lang="en">Sender not Authorized</s:Text></s:Reason></s:Fault>'
        )

    def allowed(self, request):
        if not self.login:
            return True
        get = lambda name: (re.search(r"<(?:\w+:)?%s[^>]*>([^<]*)<" % name, request) or [None, ""])[1]
        nonce, created = get("Nonce"), get("Created")
        if get("Username") != USER or not nonce or nonce in self.nonces:
            return False
        digest = hashlib.sha1(base64.b64decode(nonce) + created.encode() + PASSWORD.encode()).digest()
        try:
            at = time.strptime(created, "%Y-%m-%dT%H:%M:%SZ")
        except ValueError:
            return False
        import calendar

        near = abs(calendar.timegm(at) - calendar.timegm(self.now())) <= 5
        if get("Password") != base64.b64encode(digest).decode() or not near:
            return False
        self.nonces.add(nonce)
        return True

    def answer(self, request):
        """Status and document."""
        if "GetSystemDateAndTime" in request:
            t = self.now()
            return 200, self.envelope(
                "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
                "<tt:UTCDateTime><tt:Time><tt:Hour>%d</tt:Hour><tt:Minute>%d</tt:Minute><tt:Second>%d</tt:Second></tt:Time>"
                "<tt:Date><tt:Year>%d</tt:Year><tt:Month>%d</tt:Month><tt:Day>%d</tt:Day></tt:Date></tt:UTCDateTime>"
                "</tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
                % (t.tm_hour, t.tm_min, t.tm_sec, t.tm_year, t.tm_mon, t.tm_mday)
            )
        if not self.allowed(request):
            return self.not_authorized()
        if "GetCapabilities" in request:
            return 200, self.envelope(
                "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Media><tt:XAddr>%s</tt:XAddr></tt:Media>"
                "</tds:Capabilities></tds:GetCapabilitiesResponse>" % self.media()
            )
        if "GetDeviceInformation" in request:
            return 200, self.envelope(
                "<tds:GetDeviceInformationResponse><tds:Manufacturer>%s</tds:Manufacturer><tds:Model>%s</tds:Model>"
                "</tds:GetDeviceInformationResponse>" % (self.maker, self.hardware)
            )
        if "GetProfiles" in request:
            return 200, self.envelope("<trt:GetProfilesResponse>%s</trt:GetProfilesResponse>" % "".join(map(self.profile, self.profiles)))
        if "GetStreamUri" in request:
            token = re.search(r"ProfileToken>([^<]*)<", request)[1]
            return 200, self.envelope(
                "<trt:GetStreamUriResponse><trt:MediaUri><tt:Uri>%s</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>"
                "</trt:MediaUri></trt:GetStreamUriResponse>" % self.uri(token).replace("&", "&amp;")
            )
        return 500, self.envelope("<s:Fault><s:Reason><s:Text>not here</s:Text></s:Reason></s:Fault>")

    def media(self):
        return self.services().split()[0].replace("device_service", "Media")

    def profile(self, p):
        token, name, codec, width, height, fps = p
        return (
            '<trt:Profiles fixed="true" token="%s"><tt:Name>%s</tt:Name>'
            '<tt:VideoSourceConfiguration token="src"><tt:Name>VideoSource</tt:Name><tt:Bounds x="0" y="0" width="9" height="9"/>'
            '</tt:VideoSourceConfiguration><tt:VideoEncoderConfiguration token="enc"><tt:Name>VideoEncoder</tt:Name>'
            "<tt:Encoding>%s</tt:Encoding><tt:Resolution><tt:Width>%d</tt:Width><tt:Height>%d</tt:Height></tt:Resolution>"
            "<tt:RateControl><tt:FrameRateLimit>%d</tt:FrameRateLimit><tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl>"
            "</tt:VideoEncoderConfiguration></trt:Profiles>" % (token, name, codec, width, height, fps)
        )


class Hikvision(Camera):
    """Clock at 2013 after a dead battery; names an IPv6 address too."""

    name, hardware, maker = "HIKVISION%20DS-2CD2143G0-I", "DS-2CD2143G0-I", "HIKVISION"
    years_off = -13
    profiles = [("Profile_1", "mainStream", "H264", 1920, 1080, 25), ("Profile_2", "subStream", "H264", 640, 480, 25)]

    def services(self):
        return super().services() + " http://[fe80::c256:e3ff:fe00:1]/onvif/device_service"

    def uri(self, token):
        return "rtsp://%s:554/Streaming/Channels/10%s?transportmode=unicast&profile=%s" % (self.address, token[-1], token)


class Dahua(Camera):
    """Scopes over several lines; a request without a name is answered 401."""

    name, hardware, maker = "Dahua", "IPC-HFW2431S-S-S2", "Dahua"
    profiles = [("MediaProfile00000", "MediaProfile_Channel1_MainStream", "H264", 2560, 1440, 20)]

    def scopes(self):
        return "\n  onvif://www.onvif.org/location/country/china\n  " + super().scopes().replace(" ", "\n  ") + "\n"

    def not_authorized(self):
        return 401, ""

    def uri(self, token):
        return "rtsp://%s:554/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif" % self.address


class TpLink(Camera):
    """A port of its own; the stream's address carries a name and a password, which must not be shown."""

    name, hardware, maker, port = "TP-IPC", "C200", "tp-link", 2020
    profiles = [("profile_1", "mainStream", "H264", 1920, 1080, 15)]

    def uri(self, token):
        return "rtsp://admin:secret-of-the-camera@%s:554/stream1" % self.address


class Axis(Camera):
    """Asks nobody's name; default name spaces instead of prefixes."""

    name, hardware, maker, login = "AXIS%20M3045-V", "M3045-V", "AXIS", False
    profiles = [("profile_1_h264", "profile_1 h264", "H264", 1920, 1080, 30)]

    def envelope(self, body):
        return super().envelope(re.sub(r"<(/?)(trt|tds):(\w+)", r"<\1\3", body).replace(
            "<GetProfilesResponse>", '<GetProfilesResponse xmlns="http://www.onvif.org/ver10/media/wsdl">'))

    def uri(self, token):
        return "rtsp://%s/onvif-media/media.amp?profile=%s&sessiontimeout=60&streamtype=unicast" % (self.address, token)


class Cheap(Camera):
    """No name on the box: zeros after the document, a media service at the factory's address, a clock ahead."""

    name, hardware, maker = "%E5%90%8E%E5%A2%99", "HI3516", "H264"
    years_off = 3
    profiles = [("000", "PROFILE_000", "H264", 1280, 720, 25)]

    def probe_match(self, relates):
        return super().probe_match(relates).replace('encoding="UTF-8"', 'encoding="gb2312"') + "\r\n\0\0\0"

    def media(self):
        return "http://192.168.1.10/onvif/Media"

    def uri(self, token):
        return "rtsp://%s:554/user=admin_password=_channel=1_stream=0.sdp" % self.address


class Elsewhere(Hikvision):
    """Answers, and sends whoever asks to another machine, to collect digests."""

    def services(self):
        return "http://10.77.0.99/onvif/device_service"


class Giant(Axis):
    """Answers without end."""

    def answer(self, request):
        status, text = super().answer(request)
        return status, text + " " * 4_000_000 if "GetProfiles" in request else text


class Bomb(Axis):
    """A document that is a few hundred bytes and a few hundred gigabytes."""

    def probe_match(self, relates):
        entities = "".join('<!ENTITY b%d "%s">' % (n, "&b%d;" % (n - 1) * 10) for n in range(1, 12))
        return '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY b0 "boom">%s]><x>&b11;</x>' % entities


class Printer(Axis):
    types = "wsdp:Device"


class Deaf(Axis):
    """Takes a request and never answers it."""

    def answer(self, request):
        time.sleep(3600)


MAKERS = [Hikvision, Dahua, TpLink, Axis, Cheap, Elsewhere, Giant, Bomb, Printer, Deaf]


def handler(camera):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            request = self.rfile.read(int(self.headers["Content-Length"])).decode()
            what = re.search(r"<(?:s:Body)><(\w+)", request)[1]
            LOG.write("%s %s %s\n" % (type(camera).__name__, what, "named" if "Username" in request else "nobody"))
            status, text = camera.answer(request)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass  # whoever asked had enough

        def log_message(self, *_):
            pass

    return Handler


def main():
    cameras = [maker("10.77.0.%d" % (11 + n)) for n, maker in enumerate(MAKERS)]
    for camera in cameras:
        server = ThreadingHTTPServer((camera.address, camera.port), handler(camera))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    # Nobody may ask here; if anybody does, it stands in the log.
    trap = type("Trap", (Axis,), {})("10.77.0.99")
    threading.Thread(target=ThreadingHTTPServer((trap.address, 80), handler(trap)).serve_forever, daemon=True).start()
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ear.bind(("", PORT))
    ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(cameras[0].address)))
    print("ready", flush=True)
    while True:
        question, asker = ear.recvfrom(65536)
        text = question.decode("utf-8", "replace")
        relates = re.search(r"MessageID>([^<]*)<", text)
        if not relates or "Probe" not in text:
            continue
        for camera in cameras:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
                mouth.bind((camera.address, 0))
                mouth.sendto(camera.probe_match(relates[1]).encode(), asker)
        # And somebody who only makes noise.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.bind(("10.77.0.98", 0))
            mouth.sendto(bytes(range(256)) * 20, asker)


main()
