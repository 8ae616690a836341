# prune.mk -- a model in, a checked pruned model out.
#
#   make -f examples/prune.mk MODEL=openai/gpt-oss-20b DATA="code.jsonl chat.jsonl" RATIO=0.25 OUT=gpt-oss-15b
#
# Every step leaves a file in WORK and is not done again while what it was made from stays the same:
# another RATIO or CRITERION costs a score and a copy, not another pass over the text. An interrupted run goes
# on where it stopped, within the observation too. What is in WORK, and OUT once it was made from there, is made
# anew; an OUT that was there before is not replaced. (Names must not contain spaces: make's own limit.)

# Numbers are written and sorted in one way, whatever the language.
export LC_ALL := C

MODEL     ?= $(error MODEL=... is missing: a directory or a hub id)
DATA      ?= $(error DATA=... is missing: JSON lines or text files)
OUT       ?= $(error OUT=... is missing: the directory to write)
RATIO     ?= 0.25
CRITERION ?= gate_squared_ean_sum
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

# Expensive: passes over the text. Depends on the model's files where MODEL is a directory, and on the files of a
# directory of text. What older text left half done is no beginning.
$(STATS): $(DATA) $(wildcard $(DATA:%=%/*)) $(wildcard $(MODEL)/config.json) $(WORK)/observed
	@rm -f $@
	@if [ -n "$$(find $(DATA) -newer $@.partial 2>/dev/null)" ]; then rm -f $@.partial; fi
	$(BIN)moe-observe $(OBSERVE) --resume -o $@ $(MODEL) $(DATA)

# Cheap: a plan for each criterion and ratio.
$(PLAN): $(STATS) $(WORK)/scored
	@rm -f $@
	$(BIN)moe-score -c $(CRITERION) -r $(RATIO) $(SCORE) -o $@ $(STATS)

# A copy, compared byte for byte with the original. Only one that was made here is replaced.
$(OUT)/config.json: $(PLAN) $(WORK)/pruned
	$(BIN)moe-prune --verify $$([ "$$(cat $(WORK)/made 2>/dev/null)" != '$(OUT)' ] || echo --force) $(MODEL) $(PLAN) $(OUT)
	@echo '$(OUT)' >$(WORK)/made

# What each step was told; touched only when that changes. A hub id may mean another model than before.
SELF := $(shell $(BIN)moe-inspect --json $(MODEL) 2>/dev/null | cksum)
$(WORK)/observed: told = $(MODEL) $(SELF) $(DATA) $(OBSERVE)
$(WORK)/scored: told = $(SCORE)
$(WORK)/pruned: told = $(MODEL) $(SELF) $(PLAN)
$(WORK)/observed $(WORK)/scored $(WORK)/pruned: FORCE
	@mkdir -p $(WORK)
	@if [ ! -e $(WORK)/observed ] && [ -e $(STATS) ]; then \
	    echo '$(STATS) was not made by this makefile: move it, or name another WORK' >&2; exit 1; fi
	@if [ ! -e $@ ] || [ "$$(cat $@)" != '$(strip $(told))' ]; then \
	    rm -f $(if $(filter %/observed,$@),$(STATS).partial) && echo '$(strip $(told))' >$@; fi

.PHONY: check FORCE
.DELETE_ON_ERROR:
