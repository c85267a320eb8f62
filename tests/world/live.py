"""A live server that takes what is sent to it: an RTSP server with RECORD, on a free port of the loopback address.

Its arguments are the files for the picture (H.264 byte stream) and the sound (ADTS). Prints its port once it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( rtph264depay name=depay0 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream "
    "! filesink location={} async=false "
    "rtpmp4gdepay name=depay1 ! aacparse ! audio/mpeg,stream-format=adts ! filesink location={} async=false )"
)


def main():
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    factory.set_launch(PIPELINE.format(*sys.argv[1:3]))
    server.get_mount_points().add_factory("/app/s3cret", factory)
    if server.attach(None) == 0:
        sys.exit("the live server found no port to listen on")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
