"""A network camera: an RTSP server with a test picture, on the given port of the loopback address; 0 is a free one.

With a user and a password after its port it asks for them by Digest. Prints its port once it listens. It stands in for the cameras of recording rooms: H.264, no B-frames, a
key frame every second, 1280x720 at 25 frames per second, and a ball whose place is a function of the wall clock.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball animation-mode=wall-time background-color=0xff2f6f4f "
    "! video/x-raw,format=I420,width=1280,height=720,framerate=25/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast bitrate=2000 key-int-max=25 threads=1 "
    "! video/x-h264,profile=constrained-baseline ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def guard(server, factory, user, password):
    """Digest login, as cameras ask for it."""
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    role = GstRtspServer.RTSPPermissions()
    for right in ("media.factory.access", "media.factory.construct"):
        role.add_permission_for_role("viewer", right, True)
    factory.set_permissions(role)


def main():
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    # One picture for all viewers, as a real camera has one sensor; also one encoder's worth of CPU.
    factory.set_shared(True)
    if len(sys.argv) == 4:
        guard(server, factory, *sys.argv[2:])
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        sys.exit("the camera found no port to listen on")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
