# shellcheck shell=bash
# ingot data: prepare, show, stories, as a user types them.
source "$(dirname "$0")/lib.sh"
prepare() { "$ingot" data prepare --tokenizer tok.json --overwrite --output data "$@"; }

# Stories: the same seed, the same bytes; all accepted; a broken one is not.
"$ingot" data stories --seed 3 --bytes 100k --output stories.txt > /dev/null
check 'a size in bytes' test "$(wc -c < stories.txt)" -ge 100000
check 'repeatable' cmp <(head -c 50000 stories.txt) <("$ingot" data stories --seed 3 --bytes 60k | head -c 50000)
check 'all are accepted' grep -q '"share": 1.0,' <("$ingot" data stories --check stories.txt --json)
sed '1s/lived/live/' stories.txt > broken.txt
check 'a broken one is not' grep -q '99\.[0-9] %' <("$ingot" data stories --check broken.txt)
refuses 'one or the other' "$ingot" data stories --check stories.txt --count 3

for i in $(seq 200); do echo "Line $i: in the beginning God created the heaven and the earth."; done > book.txt
"$ingot" tokenizer train --vocab-size 400 --output tok.json book.txt > /dev/null
check 'as the README has it' "$ingot" data prepare --tokenizer tok.json --val-fraction 0.1 --output data book.txt > /dev/null
check 'the files' ls data/train.bin data/val.bin data/tokenizer.json data/meta.json data/run.yaml > /dev/null
check 'show' grep -q 'Line 1: in the beginning' <("$ingot" data show data)
check 'the last lines are val' grep -q 'Line 200:' <("$ingot" data show data --split val --tokens 10000)
check 'a tenth of the bytes' test "$("$ingot" data show data --split val --json | sed -n 's/.*"text_bytes": \([0-9]*\).*/\1/p')" -gt 1200
check 'show of a file' grep -q 'Line 1' <("$ingot" data show --tokenizer tok.json data/train.bin)
check 'show without tokenizer' grep -q -- '--- token 0: 0' <("$ingot" data show data/train.bin)
tail -c +1025 data/train.bin > raw.bin
check 'raw u16' grep -q 'Line 1' <("$ingot" data show --raw-u16 --tokenizer tok.json raw.bin)
refuses '--raw-u16' "$ingot" data show raw.bin
refuses 'already holds data' "$ingot" data prepare --tokenizer tok.json --output data book.txt
check 'repeated from its run.yaml' "$ingot" data prepare --config data/run.yaml --overwrite > /dev/null

# Files, folders, globs, standard input; documents.
mkdir -p texts/more
cp book.txt texts/a.txt
printf '{"text": "one two"}\n{"text": "three"}\n' > texts/more/b.jsonl
documents() { "$ingot" data prepare --tokenizer tok.json --overwrite --output data --val-fraction 0 --json "$@" | sed -n 's/.*"documents": \([0-9]*\).*/\1/p' | head -1; }
check 'a folder' test "$(documents texts)" = 3
check 'a glob' test "$(documents 'texts/*/*.jsonl')" = 2
check 'standard input' test "$(documents - < book.txt)" = 1
check 'standard input as jsonl' test "$(documents --field text - < texts/more/b.jsonl)" = 2
check 'separated' test "$(documents stories.txt)" = "$(grep -c endoftext stories.txt)"
check 'standard input, split' prepare - < stories.txt > /dev/null
check 'nothing is left over' test ! -e data/standard-input.partial

# What --clean did, by cause.
for i in $(seq 30); do printf '{"text": "<p>Document number %s</p> with \\u0007 a bell.\\r\\n"}\n' "$i"; done > dirty.jsonl
printf '{"text": "x"}\n' >> dirty.jsonl
head -1 dirty.jsonl >> dirty.jsonl
prepare --clean dirty.jsonl > report
check 'controls' grep -q '30 bytes of control characters' report
check 'line ends' grep -q '30 ends of lines' report
check 'markup' grep -q 'bytes of markup' report
check 'short' grep -q ' 1 document dropped: shorter than 16 bytes' report
check 'duplicates' grep -q ' 1 document dropped: duplicates' report
refuses 'give --clean too' prepare --nfc book.txt

# Pictures.
check 'pictures' grep -q '120 pictures to train on, 12 to validate' <("$ingot" data images --seed 4 --count 120 --output shapes)
check 'records of 3073 bytes' test "$(wc -c < shapes/data_batch_1.bin)" = $((120 * 3073))
"$ingot" data images --seed 4 --count 120 --output again > /dev/null
check 'the same seed, the same pictures' cmp shapes/test_batch.bin again/test_batch.bin

# Bad input.
printf 'a\0b' > binary
: > empty.txt
refuses 'is zero' prepare binary
refuses 'there is no text' prepare empty.txt
refuses 'No such file' prepare nowhere.txt
refuses 'no file matches' prepare 'nowhere*.txt'
refuses 'has no "txt"; it has "text"' prepare texts/more/b.jsonl --field txt
prepare book.txt > /dev/null
head -c 1500 data/train.bin > cut.bin
refuses 'was cut or changed' "$ingot" data show cut.bin
mv cut.bin data/train.bin
refuses 'was cut or changed' "$ingot" data show data
rm data/meta.json
refuses 'not finished' "$ingot" data show data
exit $failed
