#!/bin/sh
# What made the records here. $DATA holds coco-mini.zip and cifar10-jpeg.zip; runs/ is where the checkpoint and the 16 images go.
set -e
small="MODEL.RESNETS.NORM BN INPUT.MIN_SIZE_TRAIN (192,) INPUT.MIN_SIZE_TEST 192 INPUT.MAX_SIZE_TRAIN 320 INPUT.MAX_SIZE_TEST 320 \
INPUT.RANDOM_FLIP none MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 32 MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 7 MODEL.RPN.BATCH_SIZE_PER_IMAGE 128 \
MODEL.RPN.PRE_NMS_TOPK_TRAIN 1000 MODEL.RPN.POST_NMS_TOPK_TRAIN 200 MODEL.RPN.PRE_NMS_TOPK_TEST 1000 MODEL.RPN.POST_NMS_TOPK_TEST 64 \
SOLVER.IMS_PER_BATCH 4 SOLVER.BASE_LR 0.02 SOLVER.MAX_ITER 500 SOLVER.STEPS (400,) SOLVER.WARMUP_ITERS 50 TEST.DETECTIONS_PER_IMAGE 20 TEST.PRECISE_BN.NUM_ITER 12"
export OMP_NUM_THREADS=1

# The checkpoint: the first 300 training and 20 test images a class, of cifar10-jpeg.zip.
mkdir -p runs/r18
unzip -q -o "$DATA/cifar10-jpeg.zip" 'train/*/0[0-2]??.jpg' 'test/*/000?.jpg' 'test/*/001?.jpg' -d runs/r18/small
pretrain intl --recipe results/detection/resnet18.yaml --data runs/r18/small/ --out runs/r18/run

python results/detection/sixteen.py "$DATA/coco-mini.zip" runs/coco16
evaluate detect intl-r18=runs/r18/run/backbone.safetensors --data runs/coco16/ --out results/detection \
  --set detect.recipe=coco_R_50_C4_1x \
  --set detect.overrides="$small SOLVER.MAX_ITER 320 SOLVER.STEPS (260,) SOLVER.WARMUP_ITERS 30"
evaluate detect intl-r18=runs/r18/run/backbone.safetensors --data "$DATA/coco-mini.zip" --out results/detection --no-control \
  --set detect.recipe=coco_R_50_C4_1x \
  --set detect.overrides="$small INPUT.RANDOM_FLIP horizontal SOLVER.MAX_ITER 200 SOLVER.STEPS (160,) SOLVER.WARMUP_ITERS 20"
