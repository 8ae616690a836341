# portfolio.mk -- the first half of prune.mk: several plans from one observation, judged; the best is WORK/best.tsv, and
# nothing is cut.
#
#   make -f examples/portfolio.mk MODEL=openai/gpt-oss-20b DATA=calib.jsonl RATIO=0.5
#
# Variables, and what they mean, are those of prune.mk.
.DEFAULT_GOAL := portfolio
WORK ?= portfolio
include $(dir $(lastword $(MAKEFILE_LIST)))prune.mk

portfolio: judge
	@cp $(DIR)/best.tsv $(WORK)/best.tsv
	@cp $(DIR)/table.txt $(WORK)/table.txt
	@awk -F '\t' '/^#criterion/ { $$1 = "$(WORK)/best.tsv:"; print }' $(WORK)/best.tsv

.PHONY: portfolio
