# prune.mk -- a model in, a checked pruned model out.
#
#   make -f examples/prune.mk MODEL=openai/gpt-oss-20b DATA="code.jsonl chat.jsonl" RATIO=0.25 OUT=gpt-oss-15b
#
# Every step leaves a file in WORK and is not done again while what it was made from stays the same:
# another RATIO or CRITERION costs a score and a copy, not another pass over the text. An interrupted run goes
# on where it stopped. (Names must not contain spaces: make's own limit.)

# Numbers are written and sorted in one way, whatever the language.
export LC_ALL := C

MODEL     ?= $(error MODEL=... is missing: a directory or a hub id)
DATA      ?= $(error DATA=... is missing: JSON lines or text files)
OUT       ?= $(error OUT=... is missing: the directory to write)
RATIO     ?= 0.25
CRITERION ?= reap
# More options for each step, for example OBSERVE="--max-len 4096 --mem-max 32GB".
OBSERVE   ?=
SCORE     ?=
WORK      ?= $(OUT).work

# The programs that were built here, or those in the PATH.
BIN   ?= $(patsubst %moe-prune,%,$(wildcard $(dir $(lastword $(MAKEFILE_LIST)))../build/moe-prune))
STATS := $(WORK)/run.stats
PLAN  := $(WORK)/$(CRITERION)-$(RATIO).tsv

check: $(OUT)/config.json
	$(BIN)moe-inspect --check $(OUT)

# Expensive: one pass over the text. Depends on the model's files where MODEL is a directory.
$(STATS): $(DATA) $(wildcard $(MODEL)/config.json) $(WORK)/observed
	$(BIN)moe-observe $(OBSERVE) --force -o $@ $(MODEL) $(DATA)

# Cheap: a plan for each criterion and ratio.
$(PLAN): $(STATS) $(WORK)/scored
	$(BIN)moe-score -c $(CRITERION) -r $(RATIO) $(SCORE) --force -o $@ $(STATS)

# A copy, compared byte for byte with the original.
$(OUT)/config.json: $(PLAN) $(WORK)/pruned
	$(BIN)moe-prune --verify --force $(MODEL) $(PLAN) $(OUT)

# What each step was told; touched only when that changes.
$(WORK)/observed: told = $(MODEL) $(DATA) $(OBSERVE)
$(WORK)/scored: told = $(SCORE)
$(WORK)/pruned: told = $(MODEL) $(PLAN)
$(WORK)/observed $(WORK)/scored $(WORK)/pruned: FORCE
	@mkdir -p $(WORK)
	@if [ ! -e $@ ] || [ "$$(cat $@)" != '$(strip $(told))' ]; then echo '$(strip $(told))' >$@; fi

.PHONY: check FORCE
.DELETE_ON_ERROR:
