variable "environment" {
  description = "Which file of conf/environments is meant."
  type        = string

  validation {
    condition     = contains(["dev", "test", "prod"], var.environment)
    error_message = "The environment is dev, test or prod."
  }
}

variable "deliver_events" {
  description = "Whether events are delivered. Event Grid refuses a function that is not there: false until its code is."
  type        = bool
  default     = false
}

variable "budget_start" {
  description = "When the budget begins; the first of a month, such as 2027-01-01. Null: this month."
  type        = string
  default     = null

  validation {
    condition     = var.budget_start == null || can(regex("^20[0-9]{2}-[01][0-9]-01$", var.budget_start))
    error_message = "The budget begins on the first of a month, such as 2027-01-01."
  }
}
