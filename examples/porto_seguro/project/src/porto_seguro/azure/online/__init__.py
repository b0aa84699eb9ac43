"""The online endpoint on Azure ML: only where the project serves one."""
