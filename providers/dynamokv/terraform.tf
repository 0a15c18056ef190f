# The table of dynamodb://TABLE?region=REGION&PARAMS: what skykv provision makes,
# with recovery to a point in time, protection from deletion and a policy for its users.
#
#   terraform init
#   terraform apply

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "region" {
  type        = string
  description = "The region of the table."
  default     = "REGION"
}

variable "table" {
  type        = string
  description = "The name of the table."
  default     = "TABLE"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{3,255}$", var.table))
    error_message = "The table's name must be 3 to 255 letters, digits and characters of _ . -"
  }
}

variable "roles" {
  type        = list(string)
  description = "The names of the IAM roles that may use the store."
  default     = []
}

provider "aws" {
  region = var.region
}

# DynamoDB deletes an item some time after its ttl. skykv itself judges the expiry to
# the millisecond.
resource "aws_dynamodb_table" "kv" {
  name         = var.table
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"
  range_key    = "sk"

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  ttl {
    attribute_name = "ttl"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  deletion_protection_enabled = true
}

data "aws_iam_policy_document" "users" {
  statement {
    actions = [
      "dynamodb:GetItem",
      "dynamodb:BatchGetItem",
      "dynamodb:Query",
      "dynamodb:PutItem",
      "dynamodb:UpdateItem",
      "dynamodb:DeleteItem",
      "dynamodb:BatchWriteItem",
      "dynamodb:ConditionCheckItem",
    ]
    resources = [aws_dynamodb_table.kv.arn]
  }
}

resource "aws_iam_policy" "users" {
  name_prefix = "skykv-${substr(var.table, 0, 95)}-" # a prefix has at most 102 characters
  description = "Read and write the skykv store in table ${var.table}."
  policy      = data.aws_iam_policy_document.users.json
}

resource "aws_iam_role_policy_attachment" "users" {
  for_each = toset(var.roles)

  role       = each.key
  policy_arn = aws_iam_policy.users.arn
}

output "url" {
  description = "What to open the store with."
  value       = "dynamodb://${aws_dynamodb_table.kv.name}?region=${var.region}&PARAMS"
}
