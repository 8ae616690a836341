# portfolio.mk -- several plans from one observation, judged by masking on text that was held back, the best kept.
# No criterion is best everywhere: this finds out which one is, for this model, ratio and text.
#
#   make -f examples/portfolio.mk MODEL=openai/gpt-oss-20b DATA=calib.jsonl RATIO=0.5
#
# The plan is WORK/best.tsv, the comparison WORK/table.txt, for other programs WORK/compare.json. Of DATA, JSON
# lines, every fourth document of a category is held back, or name other text with HELD. Then: moe-prune.
#
# What it costs: one observation; for N plans, N + 1 times the forward pass over the text held back, in one run
# that reads the model once (moe-bench compare: about 0.55 of judging them one by one). With a third as many tokens
# held back as observed and 11 plans that is about four observations. REFINE=ROUNDS goes on from the best plan by
# exchanging experts (moe-bench refine), in up to 24 passes a layer and round over the same text; judge its result on
# a third text.

# Numbers are written and sorted in one way, whatever the language.
export LC_ALL := C

MODEL    ?= $(error MODEL=... is missing: a directory or a hub id)
DATA     ?= $(error DATA=... is missing: JSON lines to observe)
RATIO    ?= 0.25
# A criterion of moe-score, and ways to select joined by +: worst (what the worst category loses), super (super
# experts stay), turns (each category chooses two experts first). One more, which is dear and was the best where it was
# tried: cut, what moe-bench refine -k leaves of all experts, by measuring on the observed text (doc/quality.md).
PLANS    ?= gate_squared_ean_sum reap expert_frequency weighted_expert_frequency_sum ean_sum ean_mean weighted_ean_sum \
            weighted_ean_sum_l2 weighted_ean_sum_l2+worst weighted_ean_sum_l2+turns hope_sum gram
# What the best plan is best in: category_mean, kl_mean (over all tokens) or worst_kl (the worst category).
BY       ?= category_mean
REFINE   ?= 0
WORK     ?= portfolio
# More options, for example OBSERVE="--max-len 512".
OBSERVE  ?=
JUDGE    ?= $(OBSERVE)
REFINE_OPTS ?= $(JUDGE)

HERE  := $(dir $(lastword $(MAKEFILE_LIST)))
BIN   ?= $(patsubst %moe-bench,%,$(wildcard $(HERE)../build/moe-bench))
HELD  ?= $(WORK)/held-back.jsonl
# What is observed: DATA without what is held back.
SEEN  := $(if $(filter $(WORK)/held-back.jsonl,$(HELD)),$(WORK)/observed.jsonl,$(DATA))

# Criteria of pairs need the matrices of the observation, which are made if one is asked for.
PAIRS     := hope hope_sum gram
MATRICES  := $(if $(filter $(PAIRS) $(PAIRS:%=%+%),$(PLANS)),--matrices $(WORK)/run.matrices)
OPT_worst := --select worst
OPT_super := --protect super
OPT_turns := --protect turns=2
ODD       := $(filter-out worst super turns,$(foreach p,$(PLANS),$(wordlist 2,9,$(subst +, ,$(p)))))
$(if $(ODD),$(error PLANS: $(firstword $(ODD)) is none of worst, super, turns))
$(if $(filter 1,$(words $(filter category_mean kl_mean worst_kl,$(BY)))),,$(error BY: '$(BY)' is none of category_mean, kl_mean, worst_kl))
$(if $(filter-out 1,$(words $(BY))),$(error BY: '$(BY)' is more than one of category_mean, kl_mean, worst_kl))
TSV       := $(PLANS:%=$(WORK)/%.tsv)

best: $(WORK)/best.tsv
	@cat $(WORK)/table.txt
	@echo "$(WORK)/best.tsv: $$(sed -n 's/^#criterion.//p' $(WORK)/best.tsv | tr '\t' ' ')"

$(WORK)/observed.jsonl $(WORK)/held-back.jsonl &: $(DATA)
	@mkdir -p $(WORK)
	@rm -f $(WORK)/observed.jsonl $(WORK)/held-back.jsonl
	@cat $(DATA) | LC_ALL=C awk -v seen=$(WORK)/observed.jsonl -v held=$(WORK)/held-back.jsonl \
	    '{ category = match($$0, /"category": *"[^"]*"/) ? substr($$0, RSTART, RLENGTH) : ""; \
	       print >(++n[category] % 4 ? seen : held) }'

$(WORK)/run.stats: $(SEEN) $(wildcard $(MODEL)/config.json) $(WORK)/observed
	@rm -f $@ $(WORK)/run.matrices
	@if [ -n "$$(find $(SEEN) -newer $@.partial 2>/dev/null)" ]; then rm -f $@.partial $(WORK)/run.matrices.partial*; fi
	$(BIN)moe-observe $(OBSERVE) $(MATRICES) --resume -o $@ $(MODEL) $(SEEN)

$(filter-out %/cut.tsv,$(TSV)): $(WORK)/%.tsv: $(WORK)/run.stats $(WORK)/scored
	$(BIN)moe-score -q -c $(firstword $(subst +, ,$*)) -r $(RATIO) \
	    $(if $(filter $(PAIRS),$(firstword $(subst +, ,$*))),$(MATRICES)) $(foreach o,$(wordlist 2,9,$(subst +, ,$*)),$(OPT_$(o))) --force -o $@ $<

# From all experts to as many as a plan of RATIO keeps.
$(WORK)/cut.tsv: $(WORK)/run.stats $(WORK)/scored
	@mkdir -p $(WORK)/cut
	$(BIN)moe-score -q -c weighted_ean_sum_l2 -r $(RATIO) --force -o $(WORK)/cut/part.tsv $<
	$(BIN)moe-score -q -c weighted_ean_sum_l2 -r 0 --force -o $(WORK)/cut/all.tsv $<
	$(BIN)moe-bench refine -k $$(sed -n 's/^#criterion.*keep=\([0-9]*\).*/\1/p' $(WORK)/cut/part.tsv) $(OBSERVE) \
	    --plan $(WORK)/cut/all.tsv --force -o $@ $(MODEL) $(SEEN)

# All plans at once.
$(WORK)/compare.json: $(TSV) $(HELD) $(WORK)/judged
	$(BIN)moe-bench compare $(JUDGE) --json $(TSV:%=--plan %) --force -o $@ $(MODEL) $(HELD)

$(WORK)/table.txt: $(WORK)/compare.json $(WORK)/chosen
	@sed -n 's/^{"name":"$(subst /,\/,$(WORK))\/\([^"]*\)\.tsv".*"category_mean":\([^,]*\),"worst":"\([^"]*\)","worst_kl":\([^,]*\),"total":{[^}]*"kl_mean":\([^,]*\).*/\1 \2 \5 \4 \3/p' $< | \
	    sort -g -k $(if $(filter worst_kl,$(BY)),4,$(if $(filter kl_mean,$(BY)),3,2)) | \
	    awk 'BEGIN { printf "%-32s %13s %10s %10s %s\n", "plan", "category_mean", "kl_mean", "worst_kl", "worst" } \
	         { printf "%-32s %13.5f %10.5f %10.5f %s\n", $$1, $$2, $$3, $$4, $$5 }' >$@

$(WORK)/best.tsv: $(WORK)/table.txt $(TSV)
	@best=$(WORK)/$$(awk 'NR == 2 { print $$1 }' $<).tsv; \
	if [ $(REFINE) -gt 0 ]; then \
	    $(BIN)moe-bench refine --rounds $(REFINE) --plan "$$best" $(REFINE_OPTS) --force -o $@ $(MODEL) $(HELD); \
	else \
	    cp "$$best" $@; \
	fi

# What each step was told; touched only when that changes.
SELF := $(shell $(BIN)moe-inspect --json $(MODEL) 2>/dev/null | cksum)
$(WORK)/observed: told = $(MODEL) $(SELF) $(SEEN) $(OBSERVE) $(MATRICES)
$(WORK)/scored: told = $(RATIO)
$(WORK)/judged: told = $(MODEL) $(SELF) $(HELD) $(JUDGE) $(PLANS)
$(WORK)/chosen: told = $(BY) $(REFINE) $(REFINE_OPTS)
$(WORK)/observed $(WORK)/scored $(WORK)/judged $(WORK)/chosen: FORCE
	@mkdir -p $(WORK)
	@if [ ! -e $(WORK)/observed ] && [ -e $(WORK)/run.stats ]; then \
	    echo '$(WORK)/run.stats was not made by this makefile: move it, or name another WORK' >&2; exit 1; fi
	@if [ ! -e $@ ] || [ "$$(cat $@)" != '$(strip $(told))' ]; then \
	    rm -f $(if $(filter %/observed,$@),$(WORK)/run.stats.partial $(WORK)/run.matrices.partial*) && \
	    echo '$(strip $(told))' >$@; fi

.PHONY: best FORCE
.SECONDARY:
.DELETE_ON_ERROR:
