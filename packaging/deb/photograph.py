"""Photographs the teacher's page and the hub's console as they are on this machine, with Chromium under chromedriver.

    photograph.py FOLDER NAME URL [NAME URL…]      the console's password on standard input

Run by try-system.sh in the network of the machine it tries; what it needs is on the machine that tries.
"""

import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request

folder, pages = sys.argv[1], list(zip(sys.argv[2::2], sys.argv[3::2]))
password = sys.stdin.readline().strip()
home = tempfile.TemporaryDirectory()
# Port 0: any that is free; it says which.
driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True, env={
    "HOME": home.name, "PATH": "/usr/bin:/bin", "LANG": "zh_CN.UTF-8"})
session = None


def ask(path, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


def go(url):
    ask(f"{session}/url", {"url": url})


def photograph(name):
    # Numbers come by themselves after the page.
    time.sleep(3)
    with open(f"{folder}/{name}.png", "wb") as file:
        file.write(base64.b64decode(ask(f"{session}/screenshot")))


try:
    for line in driver.stdout:
        if "successfully on port " in line:
            port = int(line.rsplit("successfully on port ", 1)[1].split(".")[0])
            break
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
                 "--window-size=1280,800", "--lang=zh-CN", f"--user-data-dir={home.name}/chromium"]
    wants = {"acceptInsecureCerts": True, "goog:chromeOptions": {"args": arguments, "prefs": {"intl.accept_languages": "zh-CN,zh"}}}
    session = "/session/" + ask("/session", {"capabilities": {"alwaysMatch": wants}})["sessionId"]
    for name, url in pages:
        go(url)
        fields = ask(f"{session}/elements", {"using": "css selector", "value": "input[name=password]"})
        for field in fields:
            ask(f"{session}/element/{next(iter(field.values()))}/value", {"text": password + "\n"})
        photograph(name)
finally:
    if session:
        ask(session, method="DELETE")
    driver.terminate()
    driver.wait()
