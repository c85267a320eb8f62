#!/usr/bin/env bash
# Makes the READMEs' pictures anew, from what tests/classroom.rs and tests/console.rs photographed of the real pages and left
# in target/pictures. Run those two first.
set -euo pipefail
cd "$(dirname "$0")/../.."

# picture FROM TO: 960 wide is what a README shows.
picture() {
    ffmpeg -loglevel error -y -i "target/pictures/$1.png" -vf 'scale=960:-2:flags=area' -quality 80 "packaging/docs/$2.webp"
    echo "packaging/docs/$2.webp: $(stat -c %s "packaging/docs/$2.webp") bytes"
}
picture page-classroom page-recording
picture console-lesson-playing console-lesson
