"""What delivery pipelines ask of a project, and what a laptop can ask as well: are contract and code fit to go on?"""
