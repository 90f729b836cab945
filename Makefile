.DEFAULT_GOAL := help
.PHONY: help demo test bench compare docker

help: ## What can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## Build, start the gateway before a stand-in console, make the first calls
	@.ci/demo

test: ## Everything CI runs (.ci/run)
	@.ci/run

bench: ## Micro-benchmarks
	@.ci/deps
	@cargo bench --locked --bench '*'

compare: ## Side by side with nginx and HAProxy
	@benches/compare/run

docker: ## The container image vspc-gateway
	@docker build -f docker/Dockerfile -t vspc-gateway .
