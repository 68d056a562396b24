#!/bin/sh
# The paper's two trainings on WMT14 English–German (§5), for one machine with eight GPUs:
#
#     tools/wmt14.sh base wmt14
#     tools/wmt14.sh big wmt14
#
# The folder has train.en and train.de, 4.5 million lines each, val.en and val.de (newstest2013), and for `evaluate`
# test.en and test.de (newstest2014). The same command goes on after a crash, from the last checkpoint. On two machines,
# with the folder of the run on a disk that both share, this on each of them:
#
#     NODES="--nnodes 2 --rdzv-backend c10d --rdzv-endpoint HOST:29500 --rdzv-id big --nproc-per-node 4" \
#         tools/wmt14.sh big wmt14
#
# 25,000 tokens a side are shared out among eight processes. With fewer, --accumulate makes up for it: 2 for four.
# The big model's 300,000 updates took the paper 3.5 days.
set -eu

size=$1 corpus=$2
shift 2
case $size in
base) sizes="--d-model 512 --n-heads 8 --d-ff 2048 --dropout 0.1 --steps 100000 --keep-last 5" ;;
big) sizes="--d-model 1024 --n-heads 16 --d-ff 4096 --dropout 0.3 --steps 300000 --keep-last 20" ;;
*) echo "got the size $size, expected base or big" >&2 && exit 2 ;;
esac

# shellcheck disable=SC2086  # flags are words of their own
exec torchrun ${NODES:---standalone --nproc-per-node 8} --max-restarts 10 -m -- transformer train \
    --corpus "$corpus" --run "runs/wmt14-$size" --start-or-resume \
    --vocab-size 37000 --n-layers 6 $sizes \
    --batch-tokens 3125 --schedule noam --warmup 4000 --peak-rate None --label-smoothing 0.1 \
    --validate-every 1500 --log-every 100 "$@"
