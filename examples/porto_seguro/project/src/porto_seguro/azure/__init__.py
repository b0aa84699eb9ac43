"""What only a project on Azure has: the steps as jobs of Azure ML, and the commands that ask for them."""
