#!/bin/sh
# Trains VisNet from nothing and puts the weights, the fixtures of the Rust tests and REPORT.md in their places.
# About 8 minutes of processor time, half an hour on a busy machine; goes on where it was when broken off (work/net.pt).
# NAME=visnet-2 tools/visnet/run.sh gives the new weights a new name; PYTHON=... uses an interpreter that has requirements.txt already.
set -eu
cd "$(dirname "$0")"
name=${NAME:-$(cat ../../crates/speech/assets/visnet.name)}

[ -r /usr/share/dict/words ] || { echo "no /usr/share/dict/words: apt-get install wamerican" >&2; exit 1; }
ldconfig -p 2>/dev/null | grep -q libespeak-ng.so.1 || { echo "no libespeak-ng: apt-get install libespeak-ng1 espeak-ng-data" >&2; exit 1; }

mkdir -p work
python=${PYTHON:-work/venv/bin/python}
if [ -z "${PYTHON:-}" ]; then
    [ -x work/venv/bin/python ] || python3 -m venv work/venv
    work/venv/bin/pip install --quiet -r requirements.txt
fi

$python -u train.py work/net.pt >>work/train.log
tail -n 1 work/train.log
$python export.py work/net.pt "$name" ../../crates/speech/assets ../../crates/speech/tests/data

{
    echo "# VisNet on held-out voices"
    echo
    echo "Printed by \`run.sh\` (\`report.py\`): all nets hear the same sound of voices none was trained on ($(
        $python -c 'import texts; print(*texts.HELD_OUT_VOICES, sep=", ")'
    ))."
    echo "\`visnet-0\` is the prototype's net (\`baseline/\`). Heads: Pearson's r against the labels, 100 frames a second."
    echo "The voices are held out, the kind of text is not: sentences are drawn as in training, from another seed (the other languages' are the same)."
    echo "All of it is espeak-ng's speech; people are not measured here."
    echo "Bilabial events: a closure is hit if close or P(PP) passes .5 during it; precision: share of such runs within 20 ms of a closure."
    echo
    echo "Training: $(head -n 1 work/train.log); it ended with: $(tail -n 1 work/train.log)."
    echo
    $python report.py visnet-0=baseline/visnet-0.bin "$name=../../crates/speech/assets/visnet.bin"
} >work/REPORT.md
mv work/REPORT.md REPORT.md
echo "see tools/visnet/REPORT.md"
