# shellcheck shell=bash
# ingot convert and ingot info, on the small models of tests/golden/families.
source "$(dirname "$0")/lib.sh"
models=$root/tests/golden/families

for name in gpt2 llama-bias-scaled; do
    check "convert $name" "$ingot" convert --from "$models/$name" --to "$name" > out
    check 'and again' "$ingot" convert --from "$name" --to "$name-again" > out
    for file in config.json generation_config.json model.safetensors; do
        check "$name/$file comes out the same" cmp "$name/$file" "$name-again/$file"
    done
done
refuses 'holds a model already' "$ingot" convert --from gpt2 --to gpt2-again
check '--overwrite' "$ingot" convert --from gpt2 --to gpt2-again --overwrite > out
check 'to half the bytes' "$ingot" convert --from llama-bias-scaled --to half --dtype bfloat16 > out
check 'is what config.json says' grep -q '"dtype": "bfloat16"' half/config.json
check 'and model.safetensors holds' grep -aq '"BF16"' half/model.safetensors
check 'bfloat16 stays so' "$ingot" convert --from half --to half-again > out
check 'bit for bit' cmp half/model.safetensors half-again/model.safetensors
refuses 'int8' "$ingot" convert --from half --to no --dtype int8
check info "$ingot" info llama-bias-scaled > out
check 'counts' grep -q '13292 in 35 tensors' out
check 'info --json' "$ingot" info --json --tensors gpt2 > out
check 'lists' grep -q 'transformer.h.1.mlp.c_proj.weight' out

# What does not fit together is named.
refuses 'there is no such directory' "$ingot" info nowhere
refuses 'is a file' "$ingot" info gpt2/config.json
refuses 'holds no model' "$ingot" info .
cp -r llama-bias-scaled other
sed -i 's/"intermediate_size": 40/"intermediate_size": 48/' other/config.json
refuses 'gate_proj.weight is (40, 24), by config.json it is (48, 24)' "$ingot" info other
cp llama-bias-scaled/config.json other/config.json
sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' other/config.json
refuses 'tensor model.layers.2.input_layernorm.weight (24) is missing' "$ingot" info other
cp llama-bias-scaled/config.json other/config.json
sed -i 's/"mlp_bias": true/"mlp_bias": false/' other/config.json
refuses 'mlp.*bias is none of a llama model' "$ingot" info other
cp llama-bias-scaled/config.json other/config.json
head -c 5000 llama-bias-scaled/model.safetensors > other/model.safetensors
refuses 'model.safetensors' "$ingot" info other
exit $failed
