"""How buyers are told: by the notification service, or by e-mail in one of three ways. Strangers to each other."""
