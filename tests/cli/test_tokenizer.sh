# shellcheck shell=bash
# ingot tokenizer: train, encode, decode, info, as a user types them.
source "$(dirname "$0")/lib.sh"

for i in 1 2 3 4 5 6 7 8; do echo "In the beginning God created the heaven and the earth, $i times."; done > book.txt
check train "$ingot" tokenizer train --vocab-size 300 --output tok.json book.txt > /dev/null
check 'the options are written' grep -q '^vocab-size: 300' tok.json.yaml
check 'and read back' "$ingot" tokenizer train --config tok.json.yaml --output again.json > /dev/null
check 'to the same tokenizer' cmp tok.json again.json

# Lines, a line that is no UTF-8, an empty line, a line end of two bytes, and no line end at the end.
printf 'In the beginning\n\n\xff\xfe broken \xe2\x82\nr\r\n<|endoftext|>\nlast' > lines
check encode "$ingot" tokenizer encode --tokenizer tok.json lines > ids
check 'a line for each line' test "$(wc -l < ids)" = 5
check 'decode reverses encode' cmp lines <("$ingot" tokenizer decode --tokenizer tok.json ids)
check 'from standard input too' cmp ids <("$ingot" tokenizer encode --tokenizer tok.json < lines)
check 'a special token is one id' test "$(sed -n 5p ids)" = 0
check 'unless it is text' test "$("$ingot" tokenizer encode --no-specials --tokenizer tok.json lines | sed -n 5p | wc -w)" -gt 1
check 'json' grep -q '"vocab_size": 300' <("$ingot" tokenizer info --json tok.json)
check 'info' grep -q 'gpt-2' <("$ingot" tokenizer info tok.json)

# jsonl gives its texts; separators can be left out.
printf '{"text": "aa aa"}\n{"text": "aa"}\n' > docs.jsonl
check jsonl "$ingot" tokenizer train --vocab-size 258 --output j.json docs.jsonl > /dev/null
check 'the text is learnt, not the JSON' grep -q '"aa": 257' j.json
printf 'ab\n<|endoftext|>\nab\n' > separated.txt
check separators "$ingot" tokenizer train --vocab-size 999 --no-separators --output s.json separated.txt > /dev/null 2>&1
check 'separators are left out' test "$(grep -c endoftext s.json)" = 2

"$ingot" tokenizer train --vocab-size 9999 --output big.json book.txt > /dev/null 2> err
check 'a warning and the smaller tokenizer' grep -q 'warning: the text gives' err
refuses 'there is no text' "$ingot" tokenizer train --vocab-size 300 --output x.json /dev/null
check 'without a warning before it' test "$(wc -l < err)" = 1
printf 'a\0b' > binary
refuses 'zero bytes' "$ingot" tokenizer train --vocab-size 300 --output x.json binary
refuses 'vocab-size' "$ingot" tokenizer train --vocab-size 12 --output x.json book.txt
refuses 'No such file' "$ingot" tokenizer train --vocab-size 300 --output x.json nowhere.txt
refuses 'cannot write' "$ingot" tokenizer train --vocab-size 300 --output nowhere/x.json book.txt
refuses 'an id is a number' "$ingot" tokenizer decode --tokenizer tok.json <(echo '1 two')
refuses 'not in this tokenizer' "$ingot" tokenizer decode --tokenizer tok.json <(echo 300)
head -c 700 tok.json > cut.json
refuses 'cut.json' "$ingot" tokenizer info cut.json
echo '{"model": {"type": "WordPiece"}}' > wordpiece.json
refuses 'WordPiece' "$ingot" tokenizer info wordpiece.json
exit $failed
