# experiment.mk -- which criterion, and how much? Every combination judged from one observation, before
# anything is cut: moe-bench masks the experts that a plan drops, which is what the pruned model would compute.
#
#   make -f examples/experiment.mk MODEL=... DATA=calib.jsonl EVAL=held-out.jsonl RATIOS="0.25 0.5"
#
# EVAL must not be text from DATA. Another ratio or criterion reruns moe-score and moe-bench, never
# moe-observe; another MODEL or other options make anew what was made with them, and an interrupted run goes on. The
# table is in WORK/table.txt.

# Numbers are written and sorted in one way, whatever the language.
export LC_ALL := C

MODEL    ?= $(error MODEL=... is missing: a directory or a hub id)
DATA     ?= $(error DATA=... is missing: text to observe)
EVAL     ?= $(error EVAL=... is missing: other text, to judge with)
CRITERIA ?= gate_squared_ean_sum weighted_ean_sum reap
RATIOS   ?= 0.25 0.5
WORK     ?= experiment
# More options, for example OBSERVE="--max-len 512".
OBSERVE  ?=
BENCH    ?=

BIN   ?= $(patsubst %moe-bench,%,$(wildcard $(dir $(lastword $(MAKEFILE_LIST)))../build/moe-bench))
# criterion@ratio
RUNS  := $(foreach c,$(CRITERIA),$(foreach r,$(RATIOS),$(c)@$(r)))

table: $(WORK)/table.txt
	@cat $<

$(WORK)/run.stats: $(DATA) $(wildcard $(DATA:%=%/*)) $(wildcard $(MODEL)/config.json) $(WORK)/observed
	@rm -f $@
	@if [ -n "$$(find $(DATA) -newer $@.partial 2>/dev/null)" ]; then rm -f $@.partial; fi
	$(BIN)moe-observe $(OBSERVE) --resume -o $@ $(MODEL) $(DATA)

$(WORK)/%.tsv: $(WORK)/run.stats
	@rm -f $@
	$(BIN)moe-score -q -c $(word 1,$(subst @, ,$*)) -r $(word 2,$(subst @, ,$*)) -o $@ $<

$(WORK)/%.json: $(WORK)/%.tsv $(EVAL) $(wildcard $(EVAL:%=%/*)) $(WORK)/judged
	@rm -f $@
	$(BIN)moe-bench compare --json $(BENCH) --plan $< -o $@ $(MODEL) $(EVAL)

$(WORK)/table.txt: $(RUNS:%=$(WORK)/%.json) FORCE
	@{ echo 'criterion ratio KL same_top ppl_ratio'; \
	   for run in $(RUNS); do \
	       sed -n 's/.*"total":{[^}]*"kl_mean":\([^,}]*\)[^}]*"same_top":\([^,}]*\)[^}]*"ppl_ratio":\([^,}]*\).*/\1 \2 \3/p' \
	           "$(WORK)/$$run.json" | awk -v run="$$run" \
	           '{ split(run, part, "@"); printf "%s %s %.4f %.2f%% %.4f\n", part[1], part[2], $$1, 100 * $$2, $$3 }'; \
	   done; } | awk '{ printf "%-20s %-8s %10s %10s %10s\n", $$1, $$2, $$3, $$4, $$5 }' >$@

# What the expensive steps were told; touched only when that changes. A hub id may mean another model than before.
SELF := $(shell $(BIN)moe-inspect --json $(MODEL) 2>/dev/null | cksum)
$(WORK)/observed: told = $(MODEL) $(SELF) $(DATA) $(OBSERVE)
$(WORK)/judged: told = $(MODEL) $(SELF) $(EVAL) $(BENCH)
$(WORK)/observed $(WORK)/judged: FORCE
	@mkdir -p $(WORK)
	@if [ ! -e $(WORK)/observed ] && [ -e $(WORK)/run.stats ]; then \
	    echo '$(WORK)/run.stats was not made by this makefile: move it, or name another WORK' >&2; exit 1; fi
	@if [ ! -e $@ ] || [ "$$(cat $@)" != '$(strip $(told))' ]; then \
	    rm -f $(if $(filter %/observed,$@),$(WORK)/run.stats.partial) && echo '$(strip $(told))' >$@; fi

.PHONY: table FORCE
.SECONDARY:
.DELETE_ON_ERROR:
